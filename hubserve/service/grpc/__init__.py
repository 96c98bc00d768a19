"""The Open Inference Protocol over gRPC, with the engine, the token and the limits of HTTP. It needs the extra `grpc`."""
