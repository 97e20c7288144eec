"""The page and its services: tabs, jobs, gallery, HTTP API, accounts."""
