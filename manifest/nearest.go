package manifest

import "strconv"

// nearest returns the candidate that is most like name, or "" if none is so like
// it that a slip of the finger explains the difference.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", maxDistance(name)+1
	for _, c := range candidates {
		if d := distance(name, c); d < bestDistance || d == bestDistance && best != "" && c < best {
			best, bestDistance = c, d
		}
	}
	return best
}

// maxDistance allows about one wrong letter in three.
func maxDistance(name string) int { return max(1, min(len(name)/3, 4)) }

// didYouMean words a suggestion.
func didYouMean(name string) string { return "did you mean " + strconv.Quote(name) + "?" }

// distance is Levenshtein's, with a swap of neighbours counted once (the optimal
// string alignment), in bytes, without regard to the case of ASCII letters but
// with the exact spelling first.
func distance(a, b string) int {
	if a == b {
		return 0
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if lower(a[i]) == lower(b[j]) {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return max(last[len(b)], 1)
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
