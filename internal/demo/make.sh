#!/bin/sh
# Makes the demo's media with FFmpeg's test sources. README.md says with which FFmpeg the
# committed files were made and what each one must fulfil.
#
# Every signal repeats after ten seconds, and the second of three rounds is what is kept:
# an encoder that has seen one round ends the next as it began, so that the loop has no
# click and no jump of quality.
set -eu
cd "$(dirname "$0")"

font=${FONT:-/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf}
round=10 # seconds; whole numbers of frames (30/s), Opus packets (20 ms) and tone periods fit
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# ff is ffmpeg with output that does not differ from run to run.
ff() { ffmpeg -hide_banner -loglevel error -nostdin -y -fflags +bitexact -flags:v +bitexact -flags:a +bitexact "$@"; }

# rounds repeats what one round of a source gave.
rounds="loop=loop=2:size=300:start=0,setpts=N/30/TB"

# label NAME SIZE draws the name and the place in the round, and a mark that lights with
# each second's beep: whoever watches sees and hears whether picture and sound agree.
label() {
	printf '%s' "drawtext=fontfile=$font:text='$1':fontsize=$2:fontcolor=white:x=$2:y=h-1.6*$2,"
	printf '%s' "drawtext=fontfile=$font:text='%{eif\\:mod(t,$round)\\:d\\:2}.%{eif\\:mod(trunc(t*10+0.01),10)\\:d}':fontsize=$2:fontcolor=white:x=w-tw-$2:y=h-1.6*$2,"
	printf '%s' "drawbox=x=iw*0.76-$2:y=ih-$2*1.7:w=2*$2:h=$2*1.2:color=white:t=fill:enable='lt(mod(t,1),0.1)'"
}

# console: 1280x720, H.264 Constrained Baseline level 3.1. A drawn slice that is gone
# through in five seconds, and two traces that a sweep writes anew, one beat a second.
phantom="st(0,hypot((X-W/2)/0.8,Y-H/2)*2/H);st(1,sin(2*PI*T/5)*40);
	between(ld(0),0.84,0.94)*215
	+lt(ld(0),0.84)*(72+22*sin(16*ld(0)+2*PI*T/5)
	+70*exp(-(pow(X-W*0.38,2)+pow(Y-H*0.45-ld(1),2))/1800)
	+70*exp(-(pow(X-W*0.62,2)+pow(Y-H*0.45-ld(1),2))/1800)
	-50*exp(-(pow(X-W*0.5,2)+pow(Y-H*0.66+ld(1)/2,2))/1200))"
traces="st(0,mod(X*5/W,1));st(1,mod(T/5-X/W+1,1));
	st(2,H*0.3-110*exp(-pow((ld(0)-0.1)/0.022,2))+24*exp(-pow((ld(0)-0.17)/0.03,2))-26*exp(-pow((ld(0)-0.42)/0.06,2)));
	st(4,H*0.3-110*exp(-pow((ld(0)-5/W-0.1)/0.022,2))+24*exp(-pow((ld(0)-5/W-0.17)/0.03,2))-26*exp(-pow((ld(0)-5/W-0.42)/0.06,2)));
	st(3,H*0.76-38*sin(2*PI*X*2/W)-12*sin(2*PI*X*4/W));
	max(lt(ld(1),0.97)*(235-190*ld(1))*clip(3.2-min(abs(Y-ld(2))/hypot(1,ld(2)-ld(4)),abs(Y-ld(3))),0,1),
	18*(lt(mod(X,60),1)+lt(mod(Y,60),1)))"
ff -f lavfi -i "color=c=0x0d151c:s=1280x720:r=30:d=30" \
	-f lavfi -i "color=c=black:s=540x540:r=30:d=$round,format=gray,geq=lum='$(echo $phantom | tr -d '\n\t ')',$rounds" \
	-f lavfi -i "color=c=black:s=600x540:r=30:d=$round,format=gray,geq=lum='$(echo $traces | tr -d '\n\t ')',format=rgb24,colorchannelmixer=rr=0.25:gg=1:bb=0.8,$rounds" \
	-filter_complex "[0][1]overlay=40:50[a];[a][2]overlay=640:50[b];[b]$(label 'console (synthetic camera)' 36),format=yuv420p" \
	-t 30 -c:v libx264 -profile:v baseline -level 3.1 -preset veryslow -tune zerolatency \
	-x264-params "keyint=30:min-keyint=30:scenecut=0:slices=1:sliced-threads=0:sync-lookahead=0" \
	-crf 28 -maxrate 700k -bufsize 350k "$tmp/console.mp4"
# Each access unit is then SPS and PPS (keyframes only) and one slice.
ff -ss $round -t $round -i "$tmp/console.mp4" -c copy -bsf:v h264_mp4toannexb,filter_units=remove_types=6 -f h264 console.h264

# gantry: 640x360, VP8. Another picture, so that nobody takes one camera for the other.
ff -f lavfi -i "testsrc=s=640x312:r=30:d=$round,$rounds" \
	-vf "hue=h=200:s=0.45,pad=640:360:0:0:0x0d151c,$(label 'gantry (synthetic camera)' 24),format=yuv420p" \
	-t 30 -c:v libvpx -deadline good -cpu-used 0 -b:v 260k -maxrate 400k -bufsize 400k \
	-g 30 -keyint_min 30 -auto-alt-ref 0 -lag-in-frames 0 "$tmp/gantry.mkv"
ff -ss $round -t $round -i "$tmp/gantry.mkv" -c copy -f ivf gantry.ivf

# Sound: a quiet tone each, and a beep with the mark in the picture. One packet a page.
sound() { # FILE TONE BEEP
	ff -f lavfi -i "aevalsrc=0.04*sin($2*2*PI*t)+0.25*lt(mod(t\,1)\,0.1)*sin($3*2*PI*t):s=48000:c=mono:d=30" \
		-c:a libopus -b:a 32k -vbr on -application audio -frame_duration 20 "$tmp/$1"
	ff -ss $round -t $round -i "$tmp/$1" -c copy -f ogg -page_duration 20000 "$1"
}
sound console.ogg 330 880
sound gantry.ogg 110 1320
