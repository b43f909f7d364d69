//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// obsFiles are the settings of an OBS that has been set up before, by path below its home. {URL} is where it publishes.
var obsFiles = map[string]string{
	".config/obs-studio/global.ini": `
[General]
FirstRun=true
LastVersion=536870912
EnableAutoUpdates=false
`,
	".config/obs-studio/user.ini": `
[General]
FirstRun=true
ConfirmOnExit=false
[Basic]
Profile=e2e
ProfileDir=e2e
SceneCollection=e2e
SceneCollectionFile=e2e
`,
	// "Custom Output (FFmpeg)" to a URL, in the format whip: Debian's OBS has no WHIP service.
	".config/obs-studio/basic/profiles/e2e/basic.ini": `
[General]
Name=e2e
[Video]
BaseCX=640
BaseCY=360
OutputCX=640
OutputCY=360
FPSType=0
FPSCommon=30
[Audio]
SampleRate=48000
ChannelSetup=Stereo
[Output]
Mode=Advanced
[AdvOut]
RecType=FFmpeg
FFOutputToFile=false
FFURL={URL}
FFFormat=whip
FFIgnoreCompat=true
FFVEncoder=libx264
FFVEncoderId=27
FFVBitrate=1200
FFVGOPSize=60
FFVCustom=preset=ultrafast tune=zerolatency profile=baseline bf=0
FFAEncoder=libopus
FFAEncoderId=86076
FFABitrate=64
FFAudioMixes=1
`,
	// One scene with one media source, ffmpeg's test picture and tone.
	".config/obs-studio/basic/scenes/e2e.json": `{
  "name": "e2e", "current_scene": "scene", "current_program_scene": "scene", "scene_order": [{"name": "scene"}],
  "sources": [
    {"id": "scene", "name": "scene", "settings": {"id_counter": 1, "items": [{"id": 1, "name": "camera", "visible": true}]}},
    {"id": "ffmpeg_source", "name": "camera", "mixers": 255, "volume": 1.0, "settings": {
      "is_local_file": false, "input_format": "lavfi",
      "input": "testsrc2=rate=30:size=640x360[out0];sine=frequency=440:sample_rate=48000[out1]"}}
  ]
}`,
}

// The OBS application, in a window on a virtual display, publishes by its FFmpeg output; Chromium plays.
func TestOBSPublishes(t *testing.T) {
	s := serve(t)
	home := t.TempDir()
	for name, content := range obsFiles {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(content, "{URL}", s.whip("obs"))), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const display = ":1" // no other can be there: X sockets are this run's own
	start(t, "Xvfb", clients.command("Xvfb", display, "-nolock", "-nolisten", "tcp", "-screen", "0", "1280x800x24"))
	eventually(t, 5*time.Second, func() error {
		_, err := os.Stat("/tmp/.X11-unix/X1")
		return err
	})
	obs := start(t, "obs", clients.command(inRoot(home, "env", "DISPLAY="+display, "QT_QPA_PLATFORM=xcb", "XDG_RUNTIME_DIR=/run",
		"LIBGL_ALWAYS_SOFTWARE=1", "obs", "--multi", "--profile", "e2e", "--collection", "e2e", "--disable-updater",
		"--disable-missing-files-check", "--startrecording")...))
	s.awaitTrack("obs/video", 30*time.Second, hasCodec("H264"))
	s.awaitTrack("obs/audio", 5*time.Second, hasCodec("opus"))
	b := launch(t, "chromium")
	watch(t, s, b, "obs", "H264", 4*time.Second, 24)

	// It sends its DELETE and then waits at a dialog for somebody to say that recording may end.
	obs.stop(syscall.SIGTERM, 3*time.Second)
	s.awaitEnd("obs", time.Second)
}
