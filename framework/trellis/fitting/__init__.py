"""What learned rewards share: one network over steps, fitted by AdamW, saved and resumed. `config` imports no torch."""
