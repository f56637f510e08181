"""What the reader of a chapter sees: figures, tables and controls."""
