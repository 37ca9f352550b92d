"""The station kinds this server speaks to. A fifth is one module and one line here."""
