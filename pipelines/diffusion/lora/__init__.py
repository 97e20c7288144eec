"""LoRAs: read in all common styles, kept in a library, used for one request, merged, exported."""
