"""What people see of a campaign: sentences, tables, JSON, the report."""
