"""The engines: headless, no gradio, no web, no database. Usable from a plain Python script."""
