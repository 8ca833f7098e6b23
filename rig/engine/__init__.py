"""The load engine: what to send (targeter), when (pacer), how (connection), in which process (worker, pool)."""
