"""Stands for the module that Colab's kernels have imported before the first cell; ``colab.pth`` imports it."""
