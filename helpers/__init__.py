"""Shared helpers of the transfer-learning course.

Each module imports what it needs; the package itself imports nothing, so ``import helpers`` is instant
and does not start TensorFlow.
"""
