//go:build unix

package e2e_test

import "syscall"

// asUser runs a process as another user, without groups.
func asUser(id uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
}
