"""Bytes between peers: identity, messages, tensor codec, TLS and gRPC streams."""
