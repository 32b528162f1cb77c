"""Pure measures: arrays in, numbers out. No models, no files, no settings."""
