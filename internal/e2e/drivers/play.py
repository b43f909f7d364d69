"""A WHEP player on GStreamer's webrtcbin, for the end-to-end tests. It is given on standard input to a Python that has
GStreamer:  python3 - URL SECONDS < play.py
It decodes audio and video and prints how much of it as JSON: {"video": frames, "audio": buffers, "states": [...]}.
"""
import json
import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC


class Player:
    def __init__(self, url):
        self.url, self.resource, self.posted = url, None, False
        self.seen = {"video": 0, "audio": 0, "codecs": [], "states": []}
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.Pipeline()
        self.webrtc = Gst.ElementFactory.make("webrtcbin")
        self.webrtc.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(self.webrtc)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)
        for caps in (
            "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000,packetization-mode=(string)1,"
            "profile-level-id=(string)42e01f,level-asymmetry-allowed=(string)1,rtcp-fb-nack=true,rtcp-fb-nack-pli=true",
            "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2",
        ):
            self.webrtc.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(caps))
        self.webrtc.connect("pad-added", self.on_stream)
        self.webrtc.connect("on-negotiation-needed", lambda _: self.ask("create-offer", None, self.on_offer))
        self.webrtc.connect("notify::ice-gathering-state", lambda *_: GLib.idle_add(self.exchange))
        self.webrtc.connect("notify::connection-state", self.on_state)

    def ask(self, signal, argument, then):
        self.webrtc.emit(signal, argument, Gst.Promise.new_with_change_func(then))

    def on_offer(self, promise):
        self.offer = promise.get_reply()  # owns the description in it
        self.webrtc.emit("set-local-description", self.offer.get_value("offer"), Gst.Promise.new())

    def exchange(self):
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if self.posted or self.webrtc.get_property("ice-gathering-state") != complete:
            return
        self.posted = True
        offer = self.webrtc.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(self.url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST")
        with urllib.request.urlopen(request, timeout=10) as response:
            self.resource = urllib.parse.urljoin(self.url, response.headers["Location"])
            _, sdp = GstSdp.SDPMessage.new_from_text(response.read().decode())
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.webrtc.emit("set-remote-description", answer, Gst.Promise.new())

    def on_stream(self, _, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        self.seen["codecs"].append(pad.get_current_caps().get_structure(0).get_string("encoding-name"))
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self.on_decoded)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def on_decoded(self, _, pad):
        kind = pad.get_current_caps().get_structure(0).get_name().split("/")[0]
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("signal-handoffs", True)
        sink.connect("handoff", self.on_buffer, kind)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def on_buffer(self, _sink, _buffer, _pad, kind):
        self.seen[kind] += 1

    def on_state(self, *_):
        self.seen["states"].append(self.webrtc.get_property("connection-state").value_nick)

    def on_error(self, _, message):
        print(*message.parse_error(), file=sys.stderr)
        self.loop.quit()

    def run(self, seconds):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(1000 * seconds, self.loop.quit)
        self.loop.run()
        if self.resource:
            with urllib.request.urlopen(urllib.request.Request(self.resource, method="DELETE"), timeout=10) as response:
                self.seen["delete"] = response.status
        self.pipeline.set_state(Gst.State.NULL)
        print(json.dumps(self.seen))


Gst.init(None)
Player(sys.argv[1]).run(int(sys.argv[2]))
