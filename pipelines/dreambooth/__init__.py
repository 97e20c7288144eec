"""Teaching a model a subject from a handful of photos (DreamBooth, LoRA, textual inversion)."""
