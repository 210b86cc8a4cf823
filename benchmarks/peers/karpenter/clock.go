package main

import (
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// deadlineClock is the real clock until the deadline, if there is one. After it, every reading is a day later than the one
// before. Karpenter's single-node consolidation looks at the clock it is given before each candidate, to see whether its
// own time limit is over, so this is how it is told to stop, even if it takes that limit only after the deadline.
type deadlineClock struct {
	clock.RealClock
	deadline time.Time
	days     atomic.Int64 // readings after the deadline
}

// start sets the deadline.
func (c *deadlineClock) start(seconds float64) {
	c.deadline = time.Now().Add(time.Duration(seconds * float64(time.Second)))
}

// Now is the time, or days later once time is up.
func (c *deadlineClock) Now() time.Time {
	now := time.Now()
	if c.deadline.IsZero() || now.Before(c.deadline) {
		return now
	}
	return now.Add(time.Duration(c.days.Add(1)) * 24 * time.Hour)
}

// Since is the time from t to Now.
func (c *deadlineClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// left is the time to the deadline.
func (c *deadlineClock) left() time.Duration { return time.Until(c.deadline) }
