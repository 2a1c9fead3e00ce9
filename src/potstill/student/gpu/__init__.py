"""The student on a GPU: Triton kernels, neighbor lists on the card, and one CUDA graph for each bucket of sizes."""
