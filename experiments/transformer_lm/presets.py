"""Settings of others, as what they change in the config.

Sources: README.md and config/train_shakespeare_char.py of nanoGPT (Karpathy 2022); Radford et al. 2019 for GPT-2.
"""

NANOGPT_CPU = {
    "tokenizer": "char",
    "max_characters": 0,
    "context_length": 64,
    "num_layers": 4,
    "num_heads": 4,
    "d_model": 128,
    "num_steps": 2000,
    "batch_size": 12,
    "eval_windows": 0,
    "eval_every": 500,
}
NANOGPT_GPU = {
    "tokenizer": "char",
    "max_characters": 0,
    "context_length": 256,
    "num_layers": 6,
    "num_heads": 6,
    "d_model": 384,
    "dropout": 0.2,
    "dtype": "bfloat16",
    "num_steps": 5000,
    "batch_size": 64,
    "eval_windows": 0,
    "eval_every": 250,
}
GPT2_124M = {
    "tokenizer": "sentencepiece",
    "tokenizer_size": 50304,
    "context_length": 1024,
    "num_layers": 12,
    "num_heads": 12,
    "d_model": 768,
    "bias": True,
    "dtype": "bfloat16",
    "scan_layers": True,
    "loss_chunks": 16,
    "batch_size": 480,
    "num_steps": 600_000,
    "eval_every": 1000,
    "checkpoint_every": 1000,
    "eval_windows": 256,
    "eval_batch_size": 8,
    "optimizer.learning_rate": 6e-4,
    "optimizer.warmup_steps": 2000,
    "optimizer.b2": 0.95,
    "optimizer.accumulate": 40,
}
