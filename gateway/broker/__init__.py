"""The broker: the only process that holds the engine's socket.

It can create nothing but the hardened profile: a caller names a session, a profile and a workspace, never a
mount, a capability or an image. It must not know sessions' contents, tools, policy or the channel: it hands
over the raw attached stream and looks no further. It imports nothing of the gateway above it.
"""
