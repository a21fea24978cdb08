"""Helpers that know nothing about controlled ODEs: randomness, blocks, BLAS threads, tracing."""
