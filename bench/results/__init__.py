"""What the bench measured; `diffusion_core.notebook.recorded` reads it."""
