"""The model inside the page: its weights packed as text, and a forward pass in JavaScript that a reader can ask."""
