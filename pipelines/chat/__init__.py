"""Chat with language models: one request, one generator of words, four backends behind them."""
