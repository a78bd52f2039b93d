"""Triton kernels for frames ``(B * T, H, W, C)`` and their pairs.

Frames may be views of tokens: ``frame_stride`` and ``patch_stride`` are the
strides of a frame and of a patch. Of a video of ``T`` frames with number ``b``,
frame ``f`` of all videos is the earlier one of pair ``f - b`` and the later one
of pair ``f - b - 1``; the first and last frames are in one pair only. The first
halves of weights are for the earlier frames.
"""
