"""What inference costs: FLOPs, latency, real-time factor and peak memory."""
