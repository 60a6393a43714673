"""Crawl: addresses, lists and searches become video files with what their sites say of them."""
