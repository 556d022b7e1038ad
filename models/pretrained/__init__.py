"""Checkpoints of others, read and written: Hugging Face folders of config.json and safetensors."""
