"""ticketdiet: sparse trainable networks by iterative magnitude pruning, from pre-training on a data diet."""

__version__ = "0.1.0"
