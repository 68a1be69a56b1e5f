package faultstore

import "time"

// Effect is what became of a request in the store.
type Effect uint8

const (
	// Applied requests reach the store.
	Applied Effect = iota
	// Dropped requests never reach it.
	Dropped
	// Late requests reach the store when Land is called, or LandAfter later,
	// and are answered before that. For a read it is Dropped.
	Late
)

// Answer is what the caller is told.
type Answer uint8

const (
	// Honest is what the store said. A request that did not reach it is Lost.
	Honest Answer = iota
	// Lost: the connection broke before an answer came.
	Lost
	// Failed is a 500.
	Failed
	// Throttled is a 503 Slow Down.
	Throttled
	// Conflict is a 409, which says that nothing was settled. Together with
	// Applied it is a breach of what S3 promises.
	Conflict
	// Exists is a 412. Together with Applied it is what a writer sees whose
	// first attempt landed unseen and was repeated underneath.
	Exists
	// Mangled: the body arrived changed and the store noticed.
	Mangled
	// Hang gives no answer until the caller's context ends.
	Hang
	// Cut ends a read early, and the driver notices.
	Cut
	// Short gives fewer bytes than there are as if they were all.
	Short
	// Corrupt gives the bytes with one bit changed.
	Corrupt
)

// Fault is one way for a request to go wrong. The zero value is none.
type Fault struct {
	Effect     Effect
	Answer     Answer
	Delay      time.Duration // before the effect
	DelayAfter time.Duration // between the effect and the answer
	LandAfter  time.Duration // for Late; 0 waits for Land
	Skew       time.Duration // added to the Date of the answer
}

// FailBefore answers 500 and has no effect.
func FailBefore() Fault { return Fault{Effect: Dropped, Answer: Failed} }

// FailAfter answers 500 after the effect.
func FailAfter() Fault { return Fault{Answer: Failed} }

// LoseRequest breaks the connection before the store saw the request.
func LoseRequest() Fault { return Fault{Effect: Dropped, Answer: Lost} }

// LoseResponse breaks the connection after the effect.
func LoseResponse() Fault { return Fault{Answer: Lost} }

// Throttle answers 503 and has no effect.
func Throttle() Fault { return Fault{Effect: Dropped, Answer: Throttled} }

// ThrottleAfter answers 503 although the request took effect.
func ThrottleAfter() Fault { return Fault{Answer: Throttled} }

// RefuseAsConflict answers 409 and has no effect.
func RefuseAsConflict() Fault { return Fault{Effect: Dropped, Answer: Conflict} }

// ExistsByOwnWrite writes, and answers 412 as if another had been first.
func ExistsByOwnWrite() Fault { return Fault{Answer: Exists} }

// MangleBody answers that the checksum does not fit, and has no effect.
func MangleBody() Fault { return Fault{Effect: Dropped, Answer: Mangled} }

// HangBefore neither has an effect nor answers until the context ends.
func HangBefore() Fault { return Fault{Effect: Dropped, Answer: Hang} }

// HangAfter takes effect and does not answer until the context ends.
func HangAfter() Fault { return Fault{Answer: Hang} }

// LandLate breaks the connection now; the request takes effect after the given
// time, or when Land is called if that is 0.
func LandLate(after time.Duration) Fault {
	return Fault{Effect: Late, Answer: Lost, LandAfter: after}
}

// HangThenLand does not answer until the context ends; the request takes effect
// after the given time, or when Land is called if that is 0.
func HangThenLand(after time.Duration) Fault {
	return Fault{Effect: Late, Answer: Hang, LandAfter: after}
}

// DelayBy holds the request back, then lets it pass.
func DelayBy(d time.Duration) Fault { return Fault{Delay: d} }

// DelayAnswer lets the request pass and holds the answer back.
func DelayAnswer(d time.Duration) Fault { return Fault{DelayAfter: d} }

// CutRead ends a read early with an error.
func CutRead() Fault { return Fault{Answer: Cut} }

// ShortenRead ends a read early without an error.
func ShortenRead() Fault { return Fault{Answer: Short} }

// CorruptRead changes one bit of what a read returns.
func CorruptRead() Fault { return Fault{Answer: Corrupt} }

// SkewDate adds d to the Date of the answer.
func SkewDate(d time.Duration) Fault { return Fault{Skew: d} }
