"""The cost of inference: FLOPs, latency, real-time factor and peak memory."""
