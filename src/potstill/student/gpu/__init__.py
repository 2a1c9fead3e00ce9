"""The student on a GPU: Triton kernels, neighbor lists on the GPU, and one CUDA graph for each bucket of sizes."""
