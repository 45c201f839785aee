"""Peft methods: which few weights are trained; one file each."""
