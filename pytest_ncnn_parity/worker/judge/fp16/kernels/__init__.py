"""What kernels of ncnn's Vulkan backend make in fp16, repeated in numpy from its shaders."""
