// Lets the Go compiler take functions without a body, whose bodies the linker finds.
