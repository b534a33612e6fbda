"""Layer-by-layer numerical parity tests for ncnn models: CPU against Vulkan, fp16 against fp32."""
