"""How a network is trained: batches, steps, optimizer, checkpoints, replicas."""
