package acme_test

// childEnv makes the test binary a replica of its own, in a process that can be killed.
const childEnv = "ACME_TEST_CHILD"

func child(place string) int { return 1 }
