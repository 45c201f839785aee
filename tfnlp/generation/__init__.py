"""How a network writes: its options, loops over cached steps, and its signatures."""
