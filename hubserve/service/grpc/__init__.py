"""Serves the Open Inference Protocol over gRPC, with the engine, token and limits of HTTP. It needs the extra `grpc`."""
