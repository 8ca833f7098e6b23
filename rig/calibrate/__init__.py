"""What the client and its machine are good for, established before anything is judged."""
