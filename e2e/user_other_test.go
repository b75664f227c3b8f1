//go:build !unix

package e2e_test

import "syscall"

// asUser is never called here: nobody is root.
func asUser(uint32) *syscall.SysProcAttr { return nil }
