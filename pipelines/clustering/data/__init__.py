"""Data sets: tables and pictures read, columns chosen and scaled, points stored."""
