// Package ladder draws the story of a call for a terminal: one column a leg, time down.
//
// In goes a story.Story and a width; out comes text that is no wider. What does not fit beside each
// other is stacked. It decides nothing but what is left to the eye: a check whose outcome is shown is not
// shown, and things of one moment share a line.
package ladder
