"""Small wrong changes, and the tests that notice: what shows that a test guards what it says."""
