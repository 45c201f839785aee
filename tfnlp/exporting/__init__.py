"""Trained models to SavedModels, with warm-up requests and model cards."""
