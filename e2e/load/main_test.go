package load_test

import (
	"os"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }
