"""LoRAs: read in all common styles, kept on a shelf, applied for one request, merged, exported."""
