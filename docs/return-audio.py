#!/usr/bin/env python3
"""return-audio.py URL [SINK]: plays the sound of a WHEP URL, such as the return audio of an encoder, by GStreamer.

SINK is what follows the decoder, as gst-launch-1.0 takes it; by default the loudspeaker. It plays until it is stopped, and begins
anew by itself when the gateway or the network has been away. A token is taken from the environment: SIGHTLINE_TOKEN.

    apt install python3-gst-1.0 gir1.2-gst-plugins-bad-1.0 gstreamer1.0-nice gstreamer1.0-plugins-{base,good,bad}
"""
import os
import signal
import sys
import time
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC

LOUDSPEAKER = "audioconvert ! audioresample ! autoaudiosink"
PATIENCE = 5  # seconds without a packet: a room's mix has one every 20 ms, be it of silence
PAUSE = 2  # seconds before it begins anew

OPUS = (
    "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2,"
    "minptime=(string)10,useinbandfec=(string)1,rtcp-fb-nack=true"
)


class Session:
    """One WHEP session. over is called once, with the reason, when it has come to nothing or to its end."""

    def __init__(self, url, sink, over):
        self.url, self.sink, self.over = url, sink, over
        self.resource, self.posted = None, False
        self.heard = time.monotonic()
        self.pipeline = Gst.Pipeline()
        self.webrtc = Gst.ElementFactory.make("webrtcbin")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.webrtc.set_property("latency", 60)  # ms, of the jitter buffer
        self.pipeline.add(self.webrtc)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.end(message.parse_error()[0].message))
        self.webrtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(OPUS))
        transceiver = self.webrtc.emit("get-transceiver", 0)
        transceiver.set_property("do-nack", True)
        self.webrtc.connect("pad-added", self.on_pad)
        self.webrtc.connect("on-negotiation-needed", lambda _: self.ask("create-offer", None, self.on_offer))
        self.webrtc.connect("notify::ice-gathering-state", lambda *_: GLib.idle_add(self.exchange))
        self.timer = GLib.timeout_add(500, self.look)
        self.pipeline.set_state(Gst.State.PLAYING)

    def ask(self, signal_name, argument, then):
        self.webrtc.emit(signal_name, argument, Gst.Promise.new_with_change_func(then))

    def on_offer(self, promise):
        self.offer = promise.get_reply()  # owns the description in it
        self.webrtc.emit("set-local-description", self.offer.get_value("offer"), Gst.Promise.new())

    def exchange(self):
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if self.posted or not self.over or self.webrtc.get_property("ice-gathering-state") != complete:
            return
        self.posted = True
        offer = self.webrtc.get_property("local-description").sdp.as_text()
        try:
            with self.request("POST", self.url, offer.encode(), {"Content-Type": "application/sdp"}) as response:
                self.resource = urllib.parse.urljoin(self.url, response.headers["Location"])
                _, answer = GstSdp.SDPMessage.new_from_text(response.read().decode())
        except OSError as err:
            self.end(f"{self.url}: {err}")
            return
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, answer)
        self.webrtc.emit("set-remote-description", answer, Gst.Promise.new())

    def request(self, method, url, body=None, headers={}):
        token = os.environ.get("SIGHTLINE_TOKEN")
        if token:
            headers = {**headers, "Authorization": f"Bearer {token}"}
        return urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method), timeout=10)

    def on_pad(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        pad.add_probe(Gst.PadProbeType.BUFFER, self.on_packet)
        player = Gst.parse_bin_from_description(f"rtpopusdepay ! opusdec plc=true use-inband-fec=true ! {self.sink}", True)
        self.pipeline.add(player)
        player.sync_state_with_parent()
        pad.link(player.get_static_pad("sink"))

    def on_packet(self, *_):
        self.heard = time.monotonic()
        return Gst.PadProbeReturn.OK

    def look(self):
        if time.monotonic() - self.heard > PATIENCE:
            self.end("nothing comes")
        return GLib.SOURCE_CONTINUE

    def end(self, reason):
        if not self.over:
            return
        over, self.over = self.over, None
        GLib.source_remove(self.timer)
        self.pipeline.get_bus().remove_signal_watch()
        self.pipeline.set_state(Gst.State.NULL)
        if self.resource:
            try:
                self.request("DELETE", self.resource).close()
            except OSError:
                pass  # a gateway that is away has ended the session
        over(reason)


class Companion:
    """Plays session after session."""

    def __init__(self, url, sink):
        self.url, self.sink, self.loop, self.session = url, sink, GLib.MainLoop(), None
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, lambda *_: GLib.idle_add(self.stop))
        self.play()

    def play(self):
        self.session = Session(self.url, self.sink, self.again)
        return GLib.SOURCE_REMOVE

    def again(self, reason):
        if self.loop.is_running():
            print(f"{reason}; trying again", file=sys.stderr, flush=True)
            GLib.timeout_add_seconds(PAUSE, self.play)

    def stop(self):
        self.loop.quit()
        self.session.end("stopped")
        return GLib.SOURCE_REMOVE


if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
Gst.init(None)
Companion(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else LOUDSPEAKER).loop.run()
