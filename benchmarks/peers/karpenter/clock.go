package main

import (
	"time"

	"k8s.io/utils/clock"
)

// deadlineClock is the real clock until the deadline, if there is one, and a day later after it. Karpenter's single-node
// consolidation reads its own time limit from the clock it is given, so this is how it is told to stop.
type deadlineClock struct {
	clock.RealClock
	deadline time.Time
}

// start sets the deadline.
func (c *deadlineClock) start(seconds float64) {
	c.deadline = time.Now().Add(time.Duration(seconds * float64(time.Second)))
}

// Now is the time, or a day later once time is up.
func (c *deadlineClock) Now() time.Time {
	now := time.Now()
	if !c.deadline.IsZero() && now.After(c.deadline) {
		return now.Add(24 * time.Hour)
	}
	return now
}

// Since is the time from t to Now.
func (c *deadlineClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// left is the time to the deadline.
func (c *deadlineClock) left() time.Duration { return time.Until(c.deadline) }
