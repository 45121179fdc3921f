"""Stands for the part of ``google.colab`` that mounts Google Drive."""

import os


def mount(mountpoint: str) -> None:
    """Make the folder that Drive's files would appear in."""
    os.makedirs(os.path.join(mountpoint, "MyDrive"), exist_ok=True)
