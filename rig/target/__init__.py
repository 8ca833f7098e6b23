"""The system under test and its database: launched or reached, its tenants, its secrets, its endpoint."""
